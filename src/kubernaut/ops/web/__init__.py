"""Pages for people, as every part that has some renders them."""
