"""Augmentation of whole batches on the tensors' own device."""
