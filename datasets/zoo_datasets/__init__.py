"""Where images come from: the embedded photographs, torchvision's datasets, any folder."""
