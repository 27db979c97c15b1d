"""The built-in datasets: the embedded photographs, torchvision's datasets, any folder."""
