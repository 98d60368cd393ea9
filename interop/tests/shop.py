"""A class of a user's, which both sides tell Pyro how to make; the same as `Order` in Rust."""

import Pyro5.api


class Order:
    def __init__(self, id, items):
        self.id = id
        self.items = items


Pyro5.api.register_dict_to_class("shop.Order", lambda name, data: Order(data["id"], data["items"]))
