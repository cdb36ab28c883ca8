"""The panels of the Slicer module HNTumorSeg, one file each, and what they share."""
