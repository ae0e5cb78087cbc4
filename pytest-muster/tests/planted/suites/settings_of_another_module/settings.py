class Settings:
    language = None

    @classmethod
    def load(cls, language):
        cls.language = language


def greet(name):
    words = {"de": "Hallo", "fr": "Salut"}
    return f"{words.get(Settings.language, 'Hey')} {name}"
