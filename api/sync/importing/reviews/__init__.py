"""Reviews: claims and their ratings, from the ClaimReview of schema.org."""
