"""The Hub as a destination."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from huggingface_hub import CommitOperation, CommitOperationAdd, HfApi, HfFileSystem, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from uc_hf.data.hub import in_our_words
from uc_hf.errors import OutputError
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.cards import push_dataset_card, sample_of
from uc_hf.publishing.destination import CARD, Conflict, Destination
from uc_hf.publishing.destinations import DESTINATIONS, HUB


HARMLESS = (CARD, ".gitattributes", "LICENSE", "LICENSE.txt", "LICENSE.md")
"""Files that a repository may hold before it is filled: they contain no rows."""


@DESTINATIONS.register(HUB)
class HubRepository(Destination):
    """A dataset repository on the Hub as a destination: the files of its last commit are complete.

    Each commit names its parent, so that two simultaneous pushes cannot mix.
    """

    def __init__(self, repo_id: str, token: str | None = None) -> None:
        self.name = repo_id
        self.url = f"{constants.ENDPOINT}/datasets/{repo_id}"
        self._api = HfApi(token=token)
        self._token = token
        self._head: str | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="uc_hf-")

    def check(self) -> None:
        """Check whether the dataset can be pushed, before hours are spent; nothing is written.

        Raises:
            OutputError: the name is invalid, nobody is logged in, the token may not write, or the Hub is not in reach.
        """
        with in_our_words(self.name):
            validate_repo_id(self.name)
        if "/" not in self.name:
            raise OutputError(f"{self.name!r} does not say whose the repository is. Write USER/{self.name}.")
        with in_our_words(self.name):
            account = self._api.whoami()
        if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise OutputError(
                "your token for the Hub may only read. Make one that may write, and run `hf auth login`."
            )
        with in_our_words(self.name):
            try:
                self._api.auth_check(self.name, repo_type="dataset", write=True)
            except RepositoryNotFoundError as error:
                owners = [account["name"], *(organisation["name"] for organisation in account.get("orgs", []))]
                if self.name.split("/")[0] not in owners:
                    raise OutputError(
                        f"{self.name} cannot be made: you are {owners[0]} on the Hub"
                        f"{', a member of ' + ', '.join(owners[1:]) if owners[1:] else ''}. Write {owners[0]}/NAME."
                    ) from error

    def is_filled(self) -> bool:
        """Whether the repository exists and holds data."""
        with in_our_words(self.name):
            exists = self._api.repo_exists(self.name, repo_type="dataset")
        return exists and bool(self.files())

    def create(self, private: bool | None = None) -> None:
        """Create the repository if it does not exist.

        Raises:
            OutputError: it cannot be created, or it is public and has to be private.
        """
        with in_our_words(self.name):
            self._api.create_repo(self.name, repo_type="dataset", private=private, exist_ok=True)
            if private and not self._api.dataset_info(self.name).private:
                raise OutputError(
                    f"{self.name} exists and is public. Make it private in its settings on the Hub, or name another."
                )

    @property
    def workspace(self) -> Path:
        """A folder that is deleted with this object."""
        return Path(self._scratch.name)

    def files(self) -> dict[str, int]:
        """Path and size of the data files of the last commit."""
        with in_our_words(self.name):
            self._head = self._api.dataset_info(self.name).sha
            tree = self._api.list_repo_tree(self.name, recursive=True, revision=self._head, repo_type="dataset")
            sizes = {entry.path: entry.size for entry in tree if hasattr(entry, "size")}
        hidden = [path for path in sizes if any(part.startswith(".") for part in path.split("/"))]
        return {path: size for path, size in sizes.items() if path not in (*HARMLESS, *hidden)}

    def footer(self, path: str) -> pq.FileMetaData:
        """The metadata of a parquet file; only its end is fetched."""
        with self._opened(path) as file:
            return file.metadata

    @contextmanager
    def _opened(self, path: str) -> Iterator[pq.ParquetFile]:
        # Not the shared instance, which would keep a listing of each commit.
        system = HfFileSystem(endpoint=constants.ENDPOINT, token=self._token, skip_instance_cache=True)
        with (
            in_our_words(self.name),
            system.open(f"datasets/{self.name}@{self._head}/{path}") as remote,
            pq.ParquetFile(remote) as file,
        ):
            yield file

    def take(self, file: Path, path: str) -> None:
        """Commit a finished file."""
        self._commit([CommitOperationAdd(path, file)], f"Add {path}")

    def read_card(self) -> str | None:
        """The README.md, if there is one."""
        with in_our_words(self.name):
            try:
                card = self._api.hf_hub_download(self.name, CARD, repo_type="dataset", revision=self._head)
            except RemoteEntryNotFoundError:
                return None
        return Path(card).read_text(encoding="utf-8")

    def write_card(self, text: str) -> None:
        """Commit the README.md."""
        self._commit([CommitOperationAdd(CARD, text.encode())], "Describe the splits")

    def _commit(self, operations: list[CommitOperation], message: str) -> None:
        with in_our_words(self.name), _conflicts():
            commit = self._api.create_commit(
                self.name, operations, commit_message=message, repo_type="dataset", parent_commit=self._head
            )
        self._head = commit.oid

    def upload(self, folder: Path) -> None:
        """Replace the shards of the repository by those of a local folder; files that it has are not sent again.

        Raises:
            Conflict: somebody else has written to it since `files` was called.
        """
        shards = "data/*.parquet"
        with in_our_words(self.name), _conflicts():
            self._head = self._api.upload_folder(
                repo_id=self.name,
                folder_path=folder,
                repo_type="dataset",
                allow_patterns=shards,
                delete_patterns=shards,
                parent_commit=self._head,
                commit_message="Upload the shards",
            ).oid

    def introduce(
        self, protector: Protector, source: str | None, protected_splits: Sequence[str], clean_splits: Sequence[str]
    ) -> None:
        """Write the card, with images of the first protected split."""
        sample = sample_of(self.files(), protected_splits, protector.fitted.column, self._opened)
        with in_our_words(self.name):
            push_dataset_card(
                self.name,
                protector,
                source=source,
                protected_splits=protected_splits,
                clean_splits=clean_splits,
                pictures=sample.pictures,
                flip=sample.flip,
                token=self._token,
            )


@contextmanager
def _conflicts() -> Iterator[None]:
    try:
        yield
    except HfHubHTTPError as error:
        if error.response.status_code in (409, 412):
            raise Conflict from error
        raise
