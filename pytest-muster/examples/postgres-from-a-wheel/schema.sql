CREATE TABLE items (
    name     text PRIMARY KEY,
    in_stock integer NOT NULL CHECK (in_stock >= 0)
);

CREATE TABLE orders (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    item     text NOT NULL REFERENCES items (name),
    quantity integer NOT NULL CHECK (quantity > 0)
);
