"""The clairvoyant search: the best schedule that is known, found offline with everything known in advance."""
