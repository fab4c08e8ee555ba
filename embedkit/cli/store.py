"""The commands `store ...`: what is in the artifact store, what may go, what is damaged."""

from typing import Annotated

import typer

from embedkit.cli.options import DEFAULT_STORE, AsJson, StoreDir, print_json

store_app = typer.Typer(help="Look after the artifact store.", no_args_is_help=True)


@store_app.command("ls")
def store_ls(store: StoreDir = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List artifacts, unfinished work and stored vectors with their sizes and ages."""
    from embedkit.cli.tables import entry_json, print_entries
    from embedkit.core.store import Store
    from embedkit.maintenance import entries

    found = entries(Store(store.resolve()))
    if as_json:
        print_json([entry_json(e) for e in found])
    else:
        print_entries(found)


@store_app.command("gc")
def store_gc(
    store: StoreDir = DEFAULT_STORE,
    older_than: Annotated[float, typer.Option("--older-than", help="Only what is at least this many days old.")] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, remove nothing.")] = False,
) -> None:
    """Remove what no existing run folder uses: artifacts, work of dead processes, vectors of their models."""
    from embedkit.cli.tables import size_text
    from embedkit.core.store import Store
    from embedkit.maintenance import collect, garbage

    place = Store(store.resolve())
    found = garbage(place, older_than=older_than * 86_400)
    verb = "would remove" if dry_run else "removing"
    for entry in found:
        print(f"{verb} {entry.sort} {entry.name[:12]} ({entry.kind}, {size_text(entry.bytes)})")
    freed = sum(e.bytes for e in found) if dry_run else collect(place, found)
    print(f"{size_text(freed)} {'would be ' if dry_run else ''}freed, {len(found)} entries")


@store_app.command("verify")
def store_verify(store: StoreDir = DEFAULT_STORE) -> None:
    """Check every file of the store against its digest. Exit code 1 if something is damaged."""
    from embedkit.core.store import Store
    from embedkit.maintenance import verify

    problems = list(verify(Store(store.resolve())))
    for problem in problems:
        print(problem)
    print(f"{len(problems)} damaged" if problems else "all files are what their manifests say")
    if problems:
        raise typer.Exit(1)
