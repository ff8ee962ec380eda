"""What all record types share: requests, errors, SQL, filters, lists, reading and writing."""
