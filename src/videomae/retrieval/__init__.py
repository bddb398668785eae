"""An index of videos' features: the nearest moments, near-duplicates, suggested labels, a map of the collection."""
