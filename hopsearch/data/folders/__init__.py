"""Image folders: finding splits and classes, without opening images."""
