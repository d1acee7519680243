"""The device engine: which image, which device, who may touch it, and how the bytes get there."""
