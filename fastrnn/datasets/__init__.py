"""Data to train on: IMDB's reviews, and built-in ones that need no download."""

from fastrnn.datasets import imdb, reviews

__all__ = ["imdb", "reviews"]
