"""What a scraper does against the noise: to files, to stored images, to every batch, or in the training step."""
