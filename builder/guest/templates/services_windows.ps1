# Which services start at boot; nothing is started or stopped now.
function Set-ServiceStart([string[]]$Names, [string]$Type) {
    foreach ($name in $Names) {
        Set-Service -Name $name -StartupType $Type
        Write-Output "${name}: $Type"
    }
}
