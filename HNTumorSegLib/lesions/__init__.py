"""From a label image to single lesions with a kind, a name and a history."""
