"""Numbers of a lesion: volume, SUV indices, total lesion glycolysis, and the table of them."""
