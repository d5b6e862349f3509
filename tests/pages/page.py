"""A page taken apart, for the tests of what it holds."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Collects what the tests ask about."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
