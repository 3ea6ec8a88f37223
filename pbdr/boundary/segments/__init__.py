"""Boundary segments: lines of sight and of light that touch a silhouette, found, guided and differentiated."""
