"""What the paper (arXiv 2301.01217) reports in its table 1."""

TARGETS = ("resnet-18", "efficientnet-b1", "regnetx-1.6gf")
TABLE_1 = {
    "pets": ((62.31, 12.21, 4.69), (48.68, 17.06, 6.49), (44.86, 4.28, 3.87)),
    "cars": ((67.18, 33.57, 4.74), (72.33, 13.92, 15.33), (63.84, 29.46, 4.18)),
    "flowers": ((67.18, 35.55, 10.07), (52.46, 42.28, 14.13), (52.69, 33.79, 8.12)),
    "food": ((78.97, 55.29, 19.07), (80.29, 53.45, 17.44), (84.02, 64.48, 26.76)),
    "sun397": ((43.08, 20.38, 3.89), (42.84, 22.97, 12.95), (43.27, 22.28, 6.04)),
    "imagenet": ((77.76, 54.80, 39.78), (78.04, 32.30, 31.82), (80.78, 56.10, 41.66)),
}
"""Test accuracy in per cent: data -> for each of TARGETS: clean, UC, UC-CLIP."""

STRONGEST_BASELINE = {
    "pets": 50.86,
    "cars": 51.11,
    "flowers": 50.58,
    "food": 73.13,
    "sun397": 34.41,
    "imagenet": 55.12,
}
"""Test accuracy in per cent of ResNet-18, the first of TARGETS, for the best of the five baselines."""
