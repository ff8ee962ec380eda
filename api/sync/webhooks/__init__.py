"""Webhooks: subscriptions, and the delivery of the feed to them."""
