# What every script of a build runs with, inside a Windows guest; see guest.sh, which does the same for Linux.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
# The folder of this script alone is left: those of earlier ones go
Get-ChildItem -Path (Join-Path (Split-Path $work) 'build-*') -Directory | Where-Object { $_.FullName -ne $work } |
    Remove-Item -Recurse -Force -ErrorAction SilentlyContinue
$null = New-Item -ItemType Directory -Force -Path (Join-Path $work 'files')
$utf8 = New-Object System.Text.UTF8Encoding $false

function Write-Script([string]$Text) {
    [IO.File]::WriteAllText((Join-Path $work 'script.ps1'), $Text, $utf8)
}

# A script that came with the files
function Move-Script([string]$Name) {
    Move-Item -LiteralPath (Join-Path (Join-Path $work 'files') $Name) -Destination (Join-Path $work 'script.ps1')
}

function Write-Piece([int]$Number, [string]$Piece) {
    [IO.File]::WriteAllText((Join-Path $work "piece-$Number"), $Piece)
}

# The files that the script reads, which came as one archive in one or more pieces
function Expand-Files([string]$Sha256, [int]$Count) {
    $pieces = 0..($Count - 1) | ForEach-Object { [IO.File]::ReadAllText((Join-Path $work "piece-$_")) }
    $archive = Join-Path $work 'files.zip'
    [IO.File]::WriteAllBytes($archive, [Convert]::FromBase64String($pieces -join ''))
    $found = (Get-FileHash -LiteralPath $archive -Algorithm SHA256).Hash
    if ($found -ne $Sha256) { throw 'files did not arrive as they were sent' }
    Add-Type -AssemblyName System.IO.Compression.FileSystem
    [IO.Compression.ZipFile]::ExtractToDirectory($archive, (Join-Path $work 'files'))
    Remove-Item -LiteralPath $archive
}

function Set-Variable-Of-Script([string]$Name, [string]$Value) {
    [Environment]::SetEnvironmentVariable($Name, $Value, 'Process')
}

# New text of a file that another process writes to
function Read-New([string]$Path, [ref]$At) {
    $stream = New-Object IO.FileStream $Path, 'Open', 'Read', 'ReadWrite'
    try {
        $null = $stream.Seek($At.Value, 'Begin')
        $buffer = New-Object byte[] ($stream.Length - $At.Value)
        $count = $stream.Read($buffer, 0, $buffer.Length)
        $At.Value += $count
        ,$buffer[0..($count - 1)]
    } finally { $stream.Dispose() }
}

# Both streams of the script into one file, and to our own output; in the order in which we see them
function Copy-New($Sources, $Target) {
    foreach ($source in $Sources) {
        if ((Get-Item -LiteralPath $source.Path).Length -le $source.At) { continue }
        $at = $source.At
        [byte[]]$bytes = Read-New $source.Path ([ref]$at)
        $source.At = $at
        $Target.Write($bytes, 0, $bytes.Length)
        $Target.Flush()
        [Console]::Out.Write($utf8.GetString($bytes))
    }
    [Console]::Out.Flush()
}

function Invoke-Script([int]$Seconds, [string[]]$Interpreter, [string[]]$Arguments) {
    $env:BUILD_FILES = Join-Path $work 'files'
    if ($BUILD_SECRETS) {
        $secrets = $utf8.GetString([Convert]::FromBase64String($BUILD_SECRETS)) | ConvertFrom-Json
        foreach ($secret in $secrets.PSObject.Properties) { Set-Variable-Of-Script $secret.Name $secret.Value }
    }
    $words = @($Interpreter | Select-Object -Skip 1) + @(Join-Path $work 'script.ps1') + @($Arguments)
    # The rules of Windows for quotes in a command line
    $line = ($words | ForEach-Object {
        '"' + ($_ -replace '(\\*)"', '$1$1\"' -replace '(\\+)$', '$1$1') + '"'
    }) -join ' '
    $sources = 'out', 'err' | ForEach-Object { @{ Path = (Join-Path $work $_); At = [long]0 } }
    $process = Start-Process -FilePath $Interpreter[0] -ArgumentList $line -PassThru -WindowStyle Hidden `
        -WorkingDirectory $env:SystemRoot -RedirectStandardOutput $sources[0].Path -RedirectStandardError $sources[1].Path
    # Without a handle of ours the exit code is lost
    $null = $process.Handle
    $deadline = (Get-Date).AddSeconds($Seconds)
    $late = 'no'
    $target = New-Object IO.FileStream (Join-Path $work 'output'), 'Create', 'Write', 'Read'
    while (-not $process.WaitForExit(500)) {
        Copy-New $sources $target
        if ((Get-Date) -ge $deadline) {
            $late = 'yes'
            $null = & taskkill.exe /T /F /PID $process.Id 2>&1
            $process.WaitForExit()
        }
    }
    Copy-New $sources $target
    $size = $target.Length
    $target.Dispose()
    $all = [IO.File]::ReadAllBytes((Join-Path $work 'output'))
    $length = [Math]::Min(2700, $all.Length)
    $end = [Convert]::ToBase64String($all, $all.Length - $length, $length)
    foreach ($name in 'files', 'script.ps1', 'out', 'err') {
        Remove-Item -LiteralPath (Join-Path $work $name) -Recurse -Force -ErrorAction SilentlyContinue
    }
    [Console]::Out.Write("`nbuild: ended $($process.ExitCode) $late $size $end`n")
    exit $process.ExitCode
}
