from pathlib import Path


class Agent:
    running = False

    def start(self):
        try:
            with Path("agent.state").open("x") as state:
                state.write("running")
        except OSError:
            return False
        self.running = True
        return True

    def stop(self):
        if self.running:
            Path("agent.state").unlink()
