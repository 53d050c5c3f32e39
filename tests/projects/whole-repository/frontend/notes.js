fetch("/api/notes")
