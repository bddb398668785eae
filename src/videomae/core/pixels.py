"""Pixel statistics that networks and preprocessing must agree on."""

# Of ImageNet's RGB values as 0–1. All published VideoMAE weights were trained on frames normalized with them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
