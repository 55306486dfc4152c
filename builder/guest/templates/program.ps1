# Invoke-Program PROGRAM ARGUMENTS ACCEPT: run a program; an exit code that is not accepted is an error.
function Invoke-Program([string]$Program, [string[]]$Arguments = @(), [int[]]$Accept = @(0)) {
    # No 2>&1: Windows PowerShell would take each line of standard error for an error of its own
    & $Program @Arguments
    if ($Accept -notcontains $LASTEXITCODE) {
        throw ('{0} ended with exit code {1} (0x{1:X8})' -f (Split-Path -Leaf $Program), $LASTEXITCODE)
    }
}
