//! Fuzz targets for every decoder; each also runs as a fixed-seed test.
