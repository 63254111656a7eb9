"""Where protected rows go: a folder of images, a dataset folder, the Hub; and the cards beside them."""
