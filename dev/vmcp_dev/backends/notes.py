"""A notebook kept in memory: our own server on the official SDK, with tools, a resource and a prompt."""

from mcp.server import MCPServer


def create_server() -> MCPServer:
    """An empty notebook."""
    server = MCPServer("notes", version="1.0.0", instructions="A notebook that forgets everything when it ends.")
    notes: dict[str, str] = {}

    @server.tool()
    def write_note(title: str, text: str) -> str:
        """Write a note, or replace the one of that title."""
        notes[title] = text
        return f"noted: {title}"

    @server.tool()
    def read_note(title: str) -> str:
        """Read a note."""
        return notes.get(title, f"there is no note called {title}")

    @server.tool()
    def list_notes() -> list[str]:
        """List the titles of all notes."""
        return sorted(notes)

    @server.resource("notes://all", mime_type="text/plain")
    def all_notes() -> str:
        """Every note, one after the other."""
        return "\n\n".join(f"{title}\n{text}" for title, text in sorted(notes.items())) or "no notes yet"

    @server.prompt()
    def summarize(topic: str) -> str:
        """Ask for a summary of what the notes say about a topic."""
        return f"Read the notes and summarize in three sentences what they say about {topic}."

    return server
