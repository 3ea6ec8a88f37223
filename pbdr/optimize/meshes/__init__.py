"""Vertices of meshes as unknowns: smooth steps, regularizers, remeshing, and what can go wrong with triangles."""
