"""What a scraper does against the noise: on files, on stored images, on every batch, or in the training step."""
