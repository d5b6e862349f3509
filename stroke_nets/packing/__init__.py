"""Pack a bundle into one verified file: flat JSON, weights, card, licence and checksums."""
