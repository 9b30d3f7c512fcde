"""A page in the browser that upscales one image at a time; `m2trans serve` shows it on this
computer alone.
"""
