"""Facts from the world: accelerators, prices, densities. Every figure has its source and date."""
