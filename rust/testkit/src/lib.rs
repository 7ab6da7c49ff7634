//! What tests share: vectors, temporary meshes, seeded data.
