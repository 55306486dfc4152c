"""Threads that need the SDK at once, in a process that has not imported it."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
# Each enters the SDK's circles of modules at another place. Without `load`, most runs of this raise in some thread
PROGRAM = """
import threading
from builder.azure.sdk import IDENTITY, RESOURCE_MANAGER, STORAGE, load

def rest():
    load(RESOURCE_MANAGER)
    from azure.core.exceptions import AzureError
    from azure.core.rest import HttpRequest

def policies():
    load(RESOURCE_MANAGER)
    from azure.core.pipeline import policies
    from azure.mgmt.compute import ComputeManagementClient

def blobs():
    load(STORAGE)
    from azure.storage.blob import BlobClient

def identity():
    load(IDENTITY)
    from azure.identity import ClientSecretCredential

ready = threading.Barrier(8)
done = []

def run(work):
    ready.wait()
    work()
    done.append(work)

threads = [threading.Thread(target=run, args=(work,)) for work in (rest, policies, blobs, identity) * 2]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(done) == 8
"""


def test_threads_never_see_a_module_half_made() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
