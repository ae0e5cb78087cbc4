import queue
import threading
import time


def _think(depth, answers):
    time.sleep(depth * 0.2)
    answers.put(depth * 10)


def advise(depth):
    answers = queue.Queue()
    threading.Thread(target=_think, args=(depth, answers), daemon=True).start()
    try:
        return answers.get(timeout=0.3)
    except queue.Empty:
        return 0
