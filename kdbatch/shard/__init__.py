"""Turns published video data sets into WebDataset tars and `index.json`.

Readers of the published layouts and the storage order come first, then the transcoding of one
video, then the tars and their index.
"""
