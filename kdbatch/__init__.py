"""kdbatch: what does a small video network learn from an ensemble of self-supervised teachers?"""

__version__ = "0.2.0"
