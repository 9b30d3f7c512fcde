"""A page in the browser that upscales one image at a time, on this computer alone."""
