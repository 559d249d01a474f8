import subprocess
import sys


def test_the_service_loads_neither_torch_nor_the_worker() -> None:
    """In a fresh interpreter, because another test may have loaded them here."""
    program = (
        "import sys, service.main, service.app; service.app.openapi_document(); "
        "found = {name.partition('.')[0] for name in sys.modules}; "
        "sys.exit(' '.join(found & {'torch', 'diffusers', 'transformers', 'worker', 'checkpoints'}) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
