"""A bundle as one verified file: flat JSON configurations, weights, card, licence and checksums."""
