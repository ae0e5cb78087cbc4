import logging

NOTICE = 25


def name_levels():
    logging.addLevelName(NOTICE, "NOTICE")


def shown(level, text):
    return f"{logging.getLevelName(level)}: {text}"
