"""Training and measuring the embedded prior, `QualityCLIPEncoder` (docs/quality-prior.md)."""
