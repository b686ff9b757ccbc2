"""The detector for photographs: views of an image, features of CLIP's ViT-B/16, a head on them, calibration."""
