"""From image files to arrays: settings, splitting, decoding and caching."""
