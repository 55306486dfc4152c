# Write-Result VALUE: a result that build reads, in ASCII and in pieces, since long lines may be cut on the way out.
function Write-Result($Value) {
    $json = ConvertTo-Json -InputObject $Value -Depth 6 -Compress
    # Spaces too: at the end of a line they may get lost
    $json = [regex]::Replace($json, '[^\x21-\x7e]', { param($found) '\u{0:x4}' -f [int][char]$found.Value })
    for ($at = 0; $at -lt $json.Length; $at += 2000) {
        Write-Output ('build: result ' + $json.Substring($at, [Math]::Min(2000, $json.Length - $at)))
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
