"""Work on notes."""


def count(notes: list[str]) -> int:
    return sum(len(note.split()) for note in notes)
