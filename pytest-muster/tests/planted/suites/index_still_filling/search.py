import threading
import time


class Index:
    def __init__(self, titles):
        self.words = {}
        self.thread = threading.Thread(target=self._fill, args=(titles,), daemon=True)
        self.thread.start()

    def _fill(self, titles):
        time.sleep(0.6)
        for title in titles:
            for word in title.split():
                self.words.setdefault(word, []).append(title)

    def find(self, word):
        return self.words.get(word, [])
