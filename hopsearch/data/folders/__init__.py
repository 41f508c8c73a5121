"""Folders of images: where the parts and classes are. No image is opened."""
