# Write-Result VALUE: a result that build reads, in ASCII and in pieces, since long lines may be cut on the way out;
# packed when it is long, since every kilobyte may cost a question more.
function Write-Result($Value) {
    $json = ConvertTo-Json -InputObject $Value -Depth 6 -Compress
    # Spaces too: at the end of a line they may get lost
    $json = [regex]::Replace($json, '[^\x21-\x7e]', { param($found) '\u{0:x4}' -f [int][char]$found.Value })
    $word = 'result'
    if ($json.Length -gt 2000) {
        $bytes = [System.Text.Encoding]::ASCII.GetBytes($json)
        $target = New-Object System.IO.MemoryStream
        $mode = [System.IO.Compression.CompressionMode]::Compress
        $packed = New-Object System.IO.Compression.GZipStream $target, $mode
        $packed.Write($bytes, 0, $bytes.Length)
        $packed.Dispose()
        $word, $json = 'packed', [Convert]::ToBase64String($target.ToArray())
    }
    for ($at = 0; $at -lt $json.Length; $at += 2000) {
        Write-Output ("build: $word " + $json.Substring($at, [Math]::Min(2000, $json.Length - $at)))
    }
}

# Get-Value PATH NAME: a value of the registry; nothing where there is none.
function Get-Value([string]$Path, [string]$Name) {
    $key = Get-Item -LiteralPath $Path -ErrorAction SilentlyContinue
    if ($null -ne $key) { $key.GetValue($Name, $null) }
}

# Test-Command NAME: whether this edition of Windows has a command.
function Test-Command([string]$Name) {
    $null -ne (Get-Command -Name $Name -ErrorAction SilentlyContinue)
}
