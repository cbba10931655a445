//! Registry images: references, pulls by digest, layers unpacked safely, pushes.
